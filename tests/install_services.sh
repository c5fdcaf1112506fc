#!/usr/bin/env bash
# Install what the tests marked "services" need, as far as this user may: Slurm from Debian's packages, Ray from PyPI.
set -uo pipefail
python=$1

if command -v slurmctld > /dev/null || [ -x /usr/sbin/slurmctld ]; then
    echo "Slurm is installed."
elif [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge ||
        echo "Slurm could not be installed; its tests are skipped."
else
    echo "Slurm is not installed, and only root can install Debian's packages; its tests are skipped."
fi

"$python" -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[ray]' ||
    echo "Ray could not be installed; its tests are skipped."
