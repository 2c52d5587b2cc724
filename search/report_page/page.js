const {plots, themes} = JSON.parse(document.getElementById('plot-data').textContent);
const dark = matchMedia('(prefers-color-scheme: dark)');
const narrow = matchMedia('(max-width: 40rem)');
const touch = matchMedia('(pointer: coarse)').matches;
const places = [...document.querySelectorAll('[data-plot]')];

function draw() {
  for (const div of places) {
    const plot = structuredClone(plots[div.dataset.plot]);
    const layout = narrow.matches && plot.narrow ? plot.narrow : plot.layout;
    // On a phone there is no room for labels beside the marks: a tap names the recipe.
    const data = narrow.matches ? plot.data.filter(trace => trace.mode !== 'text') : plot.data;
    layout.template = themes[dark.matches ? 'dark' : 'light'];
    if (touch) layout.dragmode = false;
    Plotly.react(div, data, layout, {responsive: true, displayModeBar: false});
  }
}

// The marks that a pointer can be held at, each with its subplot.
function marks(div) {
  const found = [];
  div.data.forEach((trace, curve) => {
    if (trace.hoverinfo === 'skip' || trace.mode === 'text' || trace.visible === 'legendonly') return;
    const subplot = (trace.xaxis ?? 'x') + (trace.yaxis ?? 'y');
    const places = trace.type === 'heatmap'
      ? trace.y.flatMap((_, row) => trace.x.map((_, column) => ({xval: column, yval: row})))
      : [...trace.x.keys()].filter(point => trace.x[point] !== null && trace.y[point] !== null)
        .map(point => ({pointNumber: point}));
    found.push(...places.map(place => ({subplot, at: {curveNumber: curve, ...place}})));
  });
  return found;
}

// What a pointer shows, the arrow keys show, too, and a screen reader reads.
function walk(div) {
  const said = div.closest('figure').querySelector('[aria-live]');
  let place = -1;
  div.addEventListener('keydown', event => {
    if (event.key === 'Escape') Plotly.Fx.unhover(div);
    const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const found = marks(div);
    place = place < 0 && step < 0 ? found.length - 1 : (place + step + found.length) % found.length;
    Plotly.Fx.hover(div, [found[place].at], found[place].subplot);
    // Plotly draws what it shows a moment later.
    setTimeout(() => {
      const lines = [...div.querySelectorAll('.hovertext .line')];
      const texts = lines.length ? lines : [...div.querySelectorAll('.hovertext text')];
      said.textContent = texts.map(line => line.textContent).filter(text => text).join(', ');
    }, 80);
  });
}

dark.addEventListener('change', draw);
narrow.addEventListener('change', draw);
draw();
places.forEach(walk);
