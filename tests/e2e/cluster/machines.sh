# Run by machines.py as the first process of new namespaces: becomes the laptop, and starts the nodes.
# Arguments: a folder for state, and the nodes' names. KEEP: paths that the hidden folders must still show. HOME: the user's home.
set -euo pipefail

# Own /tmp, /run and home: what a machine does not share with another one.
own_files() {
    local path
    mount -t tmpfs tmpfs /mnt
    for path in $KEEP; do mkdir -p "/mnt/keep$path" && mount --rbind "$path" "/mnt/keep$path"; done
    for path in /tmp "$HOME" /run; do mount -t tmpfs -o mode=755 tmpfs "$path"; done
    chmod 1777 /tmp
    for path in $KEEP; do mkdir -p "$path" && mount --rbind "/mnt/keep$path" "$path"; done
    mkdir -p /run/sshd /run/netns
    touch "$HOME/.bashrc"
}

if [ "$1" = --node ]; then
    hostname "$2"
    own_files
    # The first process of the node: it also reaps what other processes leave behind.
    exec /usr/sbin/sshd -D -e -f "$STATE/sshd_config" 2>>"$STATE/$2.log"
fi

export STATE=$1
shift
hostname laptop
own_files
# No name server can be reached from here; to ask one in vain would cost Ray 10 s at several places.
echo "nameserver 127.0.0.1" >"$STATE/resolv.conf"
printf '%s\n' "127.0.0.1 localhost" "10.99.0.1 laptop" >"$STATE/hosts"
for file in resolv.conf hosts; do mount --bind "$STATE/$file" "/etc/$file"; done

ip link set lo up
ip link add nodes type bridge
ip addr add 10.99.0.1/24 dev nodes
ip link set nodes up
number=1
for name in "$@"; do
    number=$((number + 1))
    echo "10.99.0.$number $name" >>"$STATE/hosts"
    ip netns add "$name"
    ip link add "$name" master nodes up type veth peer name eth0 netns "$name"
    ip -n "$name" link set lo up
    ip -n "$name" addr add "10.99.0.$number/24" dev eth0
    ip -n "$name" link set eth0 up
    ip -n "$name" route add default via 10.99.0.1
    nsenter --net="/run/netns/$name" \
        unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc bash "$0" --node "$name" &
done
while :; do sleep 3600; done
