#!/usr/bin/env bash
# The door to the benchmark suite: builds it with the Go toolchain and passes every argument on.
#
#   ./bench.sh             the same as: ./bench.sh run quick
#   ./bench.sh --help      what else there is
#
# Results go to results/ below the current directory, unless --out says otherwise.
set -eu

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

if ! command -v go >/dev/null 2>&1; then
	echo "bench.sh: no Go toolchain found on PATH; see https://go.dev/dl" >&2
	exit 1
fi

# The toolchain stamps version, commit and whether the tree is modified, where this is a working copy that git can read.
stamp=false
if git -C "$root" rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
	stamp=true
fi
(cd -- "$root" && go build -buildvcs="$stamp" -o bin/cluster_benchmark ./cluster_benchmark) || exit 1

if [ $# -eq 0 ]; then
	set -- run quick
fi
exec "$root/bin/cluster_benchmark" "$@"
