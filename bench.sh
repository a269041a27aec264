#!/usr/bin/env bash
# The door to the benchmark suite: builds it with the Go toolchain and passes every argument on.
#
#   ./bench.sh             the same as: ./bench.sh run quick
#   ./bench.sh peers       builds the programs around other libraries too, which takes minutes the first time
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

# build_peer FOLDER PROGRAM builds one program. What it prints, and its exit code, are those of the build.
build_peer() {
	if [ -f "$1/go.mod" ]; then
		(cd -- "$1" && go build -buildvcs="$stamp" -o "$2" .)
	elif ! command -v cargo >/dev/null 2>&1; then
		echo "cargo, which builds it, is not on PATH"
		return 1
	else
		(cd -- "$1" && cargo build --quiet --release --locked --target-dir "$root/bin/cargo") &&
			cp -- "$root/bin/cargo/release/${2##*/}-peer" "$2"
	fi
}

# Programs around other libraries lie in bin/peers. Beside one that could not be built lies a file that says why.
if [ "${1:-}" = peers ]; then
	mkdir -p -- "$root/bin/peers"
	for folder in "$root"/cluster_benchmark/peers/*/; do
		folder=${folder%/}
		program=$root/bin/peers/${folder##*/}
		[ -f "$folder/go.mod" ] || [ -f "$folder/Cargo.toml" ] || continue
		[ -x "$program" ] || echo "bench.sh: building $program" >&2
		if said=$(build_peer "$folder" "$program" 2>&1); then
			rm -f -- "$program.why"
		else
			rm -f -- "$program" # an old one would measure what is no longer there
			printf '%s\n' "${said##*$'\n'}" >"$program.why"
			[ -z "$said" ] || printf '%s\n' "$said" >&2
		fi
	done
fi

if [ $# -eq 0 ]; then
	set -- run quick
fi
exec "$root/bin/cluster_benchmark" "$@"
