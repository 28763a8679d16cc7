#!/bin/sh
# Sees to a Python that can make the virtual environment. As root on Debian it installs one; else it says what is missing.
# Argument: the Python to use.
set -eu
able='import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'
"$1" -c "$able" 2>/dev/null && exit 0
if [ "$1" = python3 ] && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's python3-venv."
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  "$1" -c "$able" 2>/dev/null && exit 0
fi
echo "Python 3.11 or newer with its venv module is needed: on Debian 12, apt install python3-venv; or set PYTHON=…" >&2
exit 1
