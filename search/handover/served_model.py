"""The selected model as MLflow serves it: a script that needs transformers and no part of this project.

MLflow keeps this file as code beside the weights, so that nothing is pickled. What it serves is either a
whole model, as `transformers` saves it, or the trained weights alone, put onto the base when it is loaded.
"""

import base64
import io
import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
import transformers
from safetensors.torch import load_file

ADAPTER = "default"
DELTA = "delta.safetensors"


class SelectedModel(mlflow.pyfunc.PythonModel):
    """Answers prompts, with an image or without.

    `mlflow.pyfunc.load_model(uri, model_config={"base": "a/folder"})` takes the base from elsewhere.
    """

    def load_context(self, context: Any) -> None:
        """Load base and weights, or the merged model."""
        folder, config = Path(context.artifacts["selected"]), context.model_config
        self.model, self.processor = load_selected(folder, config["base"], config["dtype"])
        self.new_tokens = config["new_tokens"]

    # A type from which MLflow takes no signature: that is given when the model is written.
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[str]:
        """Return the greedy answer to each `prompt`, about its `image`, a path or base64, if there is one."""
        images = model_input["image"] if "image" in model_input else [None] * len(model_input)
        return [self._answer(prompt, image) for prompt, image in zip(model_input["prompt"], images)]  # noqa: B905

    def _answer(self, prompt: str, image: str | None) -> str:
        picture = _picture(image) if isinstance(image, str) and image else None
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        text = prompt
        if getattr(self.processor, "chat_template", None):
            content: Any = prompt
            if tokenizer is not self.processor:
                parts = [{"type": "image"}] if picture is not None else []
                content = [*parts, {"type": "text", "text": prompt}]
            turn = {"role": "user", "content": content}
            text = self.processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
        marked = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
        options = {"images": [picture]} if picture is not None else {}
        inputs = self.processor(text=text, return_tensors="pt", add_special_tokens=not marked, **options)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            written = self.model.generate(**inputs, do_sample=False, max_new_tokens=self.new_tokens)
        return tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def load_selected(folder: Path, base: str, dtype: str) -> tuple[Any, Any]:
    """Load a selected model.

    Args:
        folder: The trained weights, or a whole model.
        base: Hub id or folder of the base.
        dtype: Type of the weights, such as `bfloat16`.

    Returns:
        The model in evaluation mode, and its processor or tokenizer.
    """
    whole = not (folder / DELTA).is_file()
    path = str(folder) if whole else base
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=False)
    auto = (
        transformers.AutoModelForImageTextToText
        if hasattr(config, "vision_config")
        else transformers.AutoModelForCausalLM
    )
    # Nothing is unpickled, and no code of the base's own is run.
    safe = {"use_safetensors": True, "dtype": getattr(torch, dtype)}
    model = auto.from_pretrained(path, trust_remote_code=False, **safe).eval()
    if not whole:
        put_onto(model, folder)
    return model, transformers.AutoProcessor.from_pretrained(path, trust_remote_code=False)


@torch.no_grad()
def put_onto(model: torch.nn.Module, folder: Path) -> None:
    """Put trained weights onto their base, in place; adapters are merged, in fp32, and rounded once."""
    described = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    values = load_file(folder / DELTA)
    tensors, adapters = described["tensors"], described["adapters"]
    if adapters is None:
        for tensor in tensors:
            _part(model.get_parameter(tensor["name"]).data, tensor["slice"]).copy_(values[tensor["key"]])
        return
    # Of an adapter that is trained in part the rest is zero.
    whole = {p["name"]: torch.zeros(p["shape"]) for p in described["parameters"]}
    for tensor in tensors:
        _part(whole[tensor["name"]], tensor["slice"]).copy_(values[tensor["key"]])
    root = adapters["rank"] ** 0.5 if adapters["variant"] == "rslora" else adapters["rank"]
    for module in adapters["modules"]:
        layer = model.get_submodule(module)
        a, b = (whole[f"{module}.lora_{letter}.{ADAPTER}.weight"] for letter in "AB")
        # GPT-2's layers hold their weights as [in, out].
        turned = isinstance(layer, transformers.pytorch_utils.Conv1D)
        rows = (layer.weight.t() if turned else layer.weight).float() + adapters["alpha"] / root * b @ a
        if adapters["variant"] == "dora":
            lengths = whole[f"{module}.lora_magnitude_vector.{ADAPTER}.weight"]
            rows = rows * (lengths / rows.norm(dim=1)).unsqueeze(1)
        layer.weight.copy_((rows.t() if turned else rows).to(layer.weight.dtype))


def _part(tensor: torch.Tensor, part: dict[str, int] | None) -> torch.Tensor:
    """Return a view of one range of a dimension, in each of its repeats; None is all."""
    if part is None:
        return tensor
    axis, repeats, length = part["axis"], part["repeats"], part["stop"] - part["start"]
    if repeats == 1:
        return tensor.narrow(axis, part["start"], length)
    apart = tensor.unflatten(axis, (repeats, tensor.shape[axis] // repeats))
    return apart.narrow(axis + 1, part["start"], length)


def _picture(image: str) -> Any:
    """Return the image of a path, or of base64."""
    from PIL import Image

    # Base64 has no dots.
    source: Any = Path(image) if "." in image else io.BytesIO(base64.b64decode(image))
    return Image.open(source).convert("RGB")


mlflow.models.set_model(SelectedModel())
