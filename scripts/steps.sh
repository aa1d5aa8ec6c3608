# shellcheck shell=bash
# Sourced by check and test: runs every step even after one failed, so that all failures are seen at once,
# and ends with one line for each step. finish's exit status is 1 when any step failed.

PATH=$PWD/.venv/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin # nginx lives in sbin, and Debian gives that PATH to root alone
export PATH
unset PYTHONPATH PYTHONHOME

RESULTS=()
FAILED=0

run() { # run NAME COMMAND...
  local name=$1 start=$EPOCHREALTIME verdict=ok
  shift
  echo
  echo "== $name"
  "$@" || { verdict=FAILED && FAILED=1; }
  RESULTS+=("$(printf '%-7s %-22s %5d ms' "$verdict" "$name" $(((${EPOCHREALTIME/[.,]/} - ${start/[.,]/}) / 1000)))")
}

lua_lint() { # from the plugin's folder, since the paths in its .luacheckrc are relative to it
  # shellcheck disable=SC2046 # no file here has a space in its name
  (cd kong-plugin && luacheck --quiet --no-color $(find . ../tests ../bench -name node_modules -prune -o -name '*.lua' -print))
}

lua_specs() { (cd kong-plugin && busted --lua=luajit -o plainTerminal); }

python_lint() {
  run "ruff check" ruff check .
  run "ruff format" ruff format --check .
  run "mypy" mypy
  run "import-linter" lint-imports --no-logo
}

shell_lint() {
  # shellcheck disable=SC2046 # no file here has a space in its name
  shellcheck -x $(grep -lE -d skip '^#(!/usr/bin/env bash|!/bin/sh| shellcheck shell=)' scripts/* .ci/* deploy/*/*)
}

PYTEST_LOG=.cache/pytest.log
python_tests() { # more processes than that only make the servers that the tests start wait for each other
  pytest -n auto --maxprocesses 8 --cov --cov-report=term "$@" 2>&1 | tee "$PYTEST_LOG"
}

finish() {
  echo
  printf '%s\n' "${RESULTS[@]}"
  return "$FAILED"
}
