#!/usr/bin/env bash
# Installs what the peer tests talk to: Evolution's calendar server, its Python bindings, and D-Bus; Postfix; a clock that
# can be stepped, for tests/process; the browser of tests/browser, with letters to draw; and what checks the alerts in
# deploy/. Debian, root only. No service of theirs is started: the tests start what they need, each for itself.
set -euo pipefail

packages=(
  evolution-data-server gir1.2-ecal-2.0 gir1.2-edataserver-1.2 gir1.2-ical-3.0 python3-gi # the iTIP engine
  dbus                                                                                      # its private session bus
  libfaketime                                                                               # the wall clock of one process
  chromium fonts-dejavu-core                                                                # who looks at the page
  prometheus                                                                                # promtool, for deploy/
  systemd docker-compose                                                                    # what reads deploy/, too
)

skip() {
  echo "peers: $1" >&2
  exit 0
}

# Whether a mail server is installed already; a second one would take its place.
has_mail_server() {
  dpkg-query --show --showformat='${db:Status-Abbrev} ${Provides}\n' | grep -q '^ii .*mail-transport-agent'
}

command -v apt-get >/dev/null || skip "not Debian, so nothing is installed; their tests say what is missing"
fresh_postfix=false
if ! has_mail_server; then
  packages+=(postfix)
  fresh_postfix=true
fi
installed=$(dpkg-query --show --showformat='${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null | grep -c '^ii' || true)
[[ $installed -lt ${#packages[@]} ]] || skip "already installed"
[[ $(id -u) -eq 0 ]] || skip "not root, so nothing is installed; their tests say what is missing"
export DEBIAN_FRONTEND=noninteractive

policy=/usr/sbin/policy-rc.d # what Debian asks before it starts a service
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
if $fresh_postfix; then
  echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
if $fresh_postfix; then
  update-rc.d postfix disable # nor at the next start of the machine
fi
