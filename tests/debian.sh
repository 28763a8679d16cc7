#!/usr/bin/env bash
# The two commands of the README where nothing is installed: a fresh Debian 12 root, as root and as an ordinary user.
# Needs root and the package debootstrap. It is `make debian`: half an hour and 3 GB, so CI does not run it.
# Arguments: the folder to make the roots in, then what to run (`make demo` stands for `make run`, which does not end).
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:?a folder to make the roots in}
shift
commands=("$@")
[[ $# -gt 0 ]] || commands=("make demo" "make test")
suite=bookworm
needs=ca-certificates,curl,git,make # python3-venv as well for the ordinary user, who cannot install it

[[ $(id -u) -eq 0 ]] || { echo "debian: only root can change its root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debian: apt install debootstrap" >&2; exit 1; }

base=$folder/base
mkdir -p "$folder"
[[ -e $base/usr/bin/make ]] || debootstrap --variant=minbase --include=$needs $suite "$base"

mounts=()
leave() {
  for mount in "${mounts[@]}"; do umount --lazy "$mount"; done
}
trap leave EXIT

enter() { # a copy of the base, with what a running machine has
  local root=$1
  cp --archive "$base" "$root"
  for tree in proc dev dev/shm; do
    mount --rbind --make-rslave "/$tree" "$root/$tree"
    mounts=("$root/$tree" "${mounts[@]}")
  done
  echo "127.0.0.1 localhost" > "$root/etc/hosts" # the installer of Debian writes it, not debootstrap
  cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
  cp --dereference /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt" # a proxy of this network
}

for who in root user; do
  root=$folder/as-$who
  rm --recursive --force --one-file-system "$root"
  enter "$root"
  if [[ $who == user ]]; then
    chroot "$root" apt-get update -qq
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    chroot "$root" useradd --create-home --shell /bin/bash user
  fi
  home=$(chroot "$root" getent passwd $who | cut -d: -f6)
  git clone --quiet "$here" "$root$home/pal-gateway"
  chroot "$root" chown --recursive $who: "$home/pal-gateway"
  for command in "${commands[@]}"; do
    begun=$SECONDS
    chroot --userspec=$who:$who "$root" env --ignore-environment HOME="$home" USER=$who PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
      bash -c "cd ~/pal-gateway && $command" </dev/null || { echo "debian: as $who, failed: $command"; exit 1; }
    echo "debian: as $who, in $((SECONDS - begun)) s: $command"
  done
done
