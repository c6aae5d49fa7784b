#!/usr/bin/env bash
# Resolve constraints.txt anew from pyproject.toml: every version with its hashes, for every platform, and no address.
# Packages are looked for where pip is told to look. --upgrade leaves the present versions behind.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check uv

# uv does not read what pip is configured with: hand it over, and let it take, as pip does, the best of all places.
configured() { "$scratch/venv/bin/pip" config list | sed -n "s/^[^.]*\.$1='\(.*\)'$/\1/p" | tail -n 1 | sed 's/\\n/ /g'; }
UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$(configured index.url)}
UV_INDEX=${UV_INDEX:-$(configured extra.index.url)}
UV_FIND_LINKS=${UV_FIND_LINKS:-$(configured find.links)}
for name in UV_DEFAULT_INDEX UV_INDEX UV_FIND_LINKS; do
  if [ -n "${!name}" ]; then export "${name?}"; else unset "$name"; fi
done

# paramiko 5 deleted SHA-1, which much of RouterOS 6 needs (pyproject.toml admits it, the constraints hold it back).
echo 'paramiko<5' >"$scratch/held.txt"

"$scratch/venv/bin/uv" pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 \
  --index-strategy unsafe-best-match --generate-hashes --no-header --no-annotate --constraints "$scratch/held.txt" --output-file constraints.txt --quiet "$@"
