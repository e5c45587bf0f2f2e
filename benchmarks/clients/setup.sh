#!/usr/bin/env bash
# Makes an environment for each peer, next to the project's own: benchmarks/clients/setup.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-python3.11}

make_environment() {
  local folder=.venvs/$1
  shift
  [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet "$@"
}

make_environment datatrove "datatrove[io]==0.10.1" orjson aiosqlite httpx xxhash aiofiles openai
make_environment curator "bespokelabs-curator==0.1.31"
make_environment distilabel "distilabel[openai]==1.5.3" requests
make_environment data-designer "data-designer==0.9.6"
make_environment tgi-client "text-generation==0.7.0"
