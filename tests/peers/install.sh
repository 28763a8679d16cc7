#!/usr/bin/env bash
# Installs what the peer tests talk to: Evolution's calendar server, its Python bindings, and D-Bus; a clock that can be
# stepped, for tests/process; the browser of tests/browser, with letters to draw; and what checks the alerts in deploy/.
# Debian, root only.
set -euo pipefail

packages=(
  evolution-data-server gir1.2-ecal-2.0 gir1.2-edataserver-1.2 gir1.2-ical-3.0 python3-gi # the iTIP engine
  dbus                                                                                      # its private session bus
  libfaketime                                                                               # the wall clock of one process
  chromium fonts-dejavu-core                                                                # who looks at the page
  prometheus                                                                                # promtool, for deploy/
)

skip() {
  echo "peers: $1" >&2
  exit 0
}

command -v apt-get >/dev/null || skip "not Debian, so nothing is installed; their tests say what is missing"
installed=$(dpkg-query --show --showformat='${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null | grep -c '^ii' || true)
[[ $installed -lt ${#packages[@]} ]] || skip "already installed"
[[ $(id -u) -eq 0 ]] || skip "not root, so nothing is installed; their tests say what is missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
