#!/bin/sh
# Installs the agent of My Workers as a service, on Debian 12 or newer and Ubuntu 24.04 or newer:
#   curl -fsSL URL/v1/releases/agent/install.sh | sh -s -- --registry URL [--enrol KEY]
# from the registry at URL, or from a web server's folder:
#   curl -fsSL ADDRESS/install.sh | sh -s -- --from ADDRESS
# Everything is in functions, and the last line calls them: of a download that was cut, nothing runs.
set -eu

usage() {
    cat <<'TEXT'
usage: install.sh --registry URL [--enrol KEY] [--from ADDRESS] [--sha256 SUM]
       install.sh --from ADDRESS [--sha256 SUM]

Downloads the agent's Debian package and installs it, with Blender and bubblewrap from your distribution and
a service that runs as a user of its own, pictor-agent. Asks for root through sudo where it is not root.

  --registry URL   the registry, which made the key and offers the package (PICTOR_REGISTRY)
  --enrol KEY      make this machine a worker with an enrolment key from the console (PICTOR_ENROL_KEY)
  --from ADDRESS   another folder with pictor-agent_amd64.deb and pictor-agent_arm64.deb, or one such file
                   (PICTOR_RELEASES; default: URL/v1/releases/agent)
  --sha256 SUM     refuse a package with another SHA-256

To remove it again: apt-get purge pictor-agent
TEXT
}

say() { printf '%s\n' "install: $*"; }

refuse() {
    printf '%s\n' "install: $1" >&2
    exit "${2:-1}"
}

# What Debian calls this machine's processors, once it is sure that the package runs here.
check_system() {
    from_source="Build it from source instead: docs/get-started.md in the project's repository says how"
    [ "$(uname -s)" = Linux ] || refuse "this is $(uname -s), and the package is for Linux. $from_source."
    [ -r /etc/os-release ] || refuse "cannot tell which Linux this is: there is no /etc/os-release. $from_source."
    # shellcheck source=/dev/null
    system=$(. /etc/os-release && printf '%s %s' "${ID:-unknown}" "${VERSION_ID:-0}")
    case ${system% *} in
        debian) needed=12 ;;
        ubuntu) needed=24 ;;
        *) refuse "the package is for Debian 12 and Ubuntu 24.04 or newer; this is ${system}. $from_source." ;;
    esac
    release=${system#* }
    # Debian's next release has no number yet.
    if [ "$release" != 0 ] && [ "${release%%.*}" -lt "$needed" ]; then
        refuse "the package needs Debian 12 or Ubuntu 24.04; this is ${system}. Upgrade the system first, or: $from_source."
    fi
    command -v apt-get >/dev/null || refuse "there is no apt-get here, which the package is installed with"
    architecture=$(dpkg --print-architecture)
    case $architecture in
        amd64 | arm64) ;;
        *) refuse "there are packages for amd64 and arm64; this is $architecture. $from_source." ;;
    esac
}

# Nobody on the way may change what root installs.
check_address() {
    case $1 in
        https://* | http://127.0.0.1[:/]* | http://localhost[:/]* | http://\[::1\][:/]*) ;;
        http://*) [ -n "$sha256" ] || refuse "$1 is not encrypted: use https://, or say what to expect with --sha256" ;;
        *) refuse "$1 is no address: write https://…" 2 ;;
    esac
}

download() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --proto-redir =https --output "$2" "$1"
    elif command -v wget >/dev/null; then
        wget --quiet --max-redirect=0 --output-document="$2" "$1"
    else
        refuse "install curl or wget first: apt-get install curl"
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        refuse "this needs root, and there is no sudo: run it as root"
    fi
}

fetch_package() {
    case $from in
        *.deb) address=$from ;;
        *) address=${from%/}/pictor-agent_$architecture.deb ;;
    esac
    check_address "$address"
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    package=$folder/pictor-agent.deb
    say "downloading $address"
    download "$address" "$package" || refuse "could not download $address"
    if [ -n "$sha256" ] && [ "$(sha256sum "$package" | cut -d ' ' -f 1)" != "$sha256" ]; then
        refuse "$address is not the package you expect: its SHA-256 is another"
    fi
    dpkg-deb --fsys-tarfile "$package" >/dev/null 2>&1 ||
        refuse "$address is no package, or was cut on the way: try again"
    # apt reads it as a user of its own.
    chmod 755 "$folder"
    chmod 644 "$package"
}

install_package() {
    say "installing pictor-agent $(dpkg-deb --field "$package" Version), with Blender and bubblewrap where they are missing"
    as_root apt-get --quiet update || refuse "apt-get update failed, see above"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes install "$package" ||
        refuse "apt-get could not install the package, see above"
}

# Only root and the service may see the key; an argument could be seen by others.
enrol() {
    say "making this machine a worker of $registry"
    # shellcheck disable=SC2016  # the inner shell's
    printf '%s\n' "$key" | as_root sh -c \
        'read -r PICTOR_ENROL_KEY && export PICTOR_ENROL_KEY && exec pictor-agent import --registry "$1"' enrol "$registry" ||
        refuse "the agent is installed, but this machine is no worker yet, see above"
    if [ -d /run/systemd/system ]; then
        as_root systemctl restart pictor-agent
        say "the service runs. Look at it: systemctl status pictor-agent, and: pictor-agent doctor (as root)"
    else
        say "there is no systemd here to run the service. Start it by hand, as root: pictor-agent run"
    fi
}

main() {
    key=${PICTOR_ENROL_KEY:-} registry=${PICTOR_REGISTRY:-} from=${PICTOR_RELEASES:-} sha256=
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit 0 ;;
            --from | --sha256 | --enrol | --registry) [ $# -gt 1 ] || refuse "$1 needs a value" 2 ;;
            *) usage >&2; refuse "unknown argument $1" 2 ;;
        esac
        case $1 in
            --from) from=$2 ;;
            --sha256) sha256=$2 ;;
            --enrol) key=$2 ;;
            --registry) registry=$2 ;;
        esac
        shift 2
    done
    if [ -n "$key" ] && [ -z "$registry" ]; then
        refuse "--enrol needs --registry, the address of the registry that made the key" 2
    fi
    if [ -z "$from" ]; then
        [ -n "$registry" ] || { usage >&2; refuse "where is the package? Say so with --registry or --from" 2; }
        from=${registry%/}/v1/releases/agent
    fi
    check_system
    fetch_package
    install_package
    if [ -n "$key" ]; then
        enrol
    elif [ -e /etc/pictor/worker.toml ]; then
        say "this machine is a worker already, and stays it"
    else
        say "next, as root, with a worker's config file from the console: pictor-agent import FILE.toml && systemctl restart pictor-agent"
    fi
}

main "$@"
