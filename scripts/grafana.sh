# shellcheck shell=bash
# Sourced by scripts/quickstart: a Grafana that is installed here, with what grafana/ provisions. Installs nothing.
# Expects scripts/processes.sh, and $repo, $state and the addresses of the rest when Grafana starts.

readonly grafana_version_min=12 infinity=yesoreyeram-infinity-datasource

# Grafana's folder is the one with conf/defaults.ini and bin/grafana; a packaged `grafana` is somewhere else, or a link.
grafana_homes() {
    local command program
    for command in grafana grafana-server; do
        if program=$(command -v "$command"); then
            dirname "$(dirname "$(realpath "$program")")"
            # Homebrew's, beside its bin folder.
            echo "$(dirname "$(dirname "$(realpath "$program")")")/share/grafana"
        fi
    done
    echo /usr/share/grafana
}

grafana_program() {
    if [[ -x $1/bin/grafana ]]; then echo "$1/bin/grafana"; else command -v grafana; fi
}

# Sets grafana_home and grafana, or with_grafana=false and says why. One that was asked for by name must be there.
find_grafana() {
    $with_grafana || return 0
    local asked_for=$grafana_home home version problem=
    while [[ -z $grafana_home ]] && read -r home; do
        [[ ! -f $home/conf/defaults.ini ]] || grafana_home=$home
    done < <(grafana_homes)
    if [[ ! -f $grafana_home/conf/defaults.ini ]] || ! grafana=$(grafana_program "$grafana_home"); then
        problem="none is installed here; with version $grafana_version_min or newer, this script starts it too"
    else
        version=$("$grafana" server --homepath "$grafana_home" -v 2>/dev/null | sed -n 's/^Version \([0-9]*\)\..*/\1/p') || version=
        [[ ${version:-0} -ge $grafana_version_min ]] || problem="that in $grafana_home is older than version $grafana_version_min"
    fi
    [[ -n $problem ]] || return 0
    [[ -z $asked_for ]] || fail "--grafana $asked_for: $problem"
    with_grafana=false
    no_grafana=$problem
}

# Where Infinity is, which most tables need; without it everything else is shown.
find_plugins() {
    local folder
    for folder in "${GF_PATHS_PLUGINS:-}" "$state/grafana-plugins" "$grafana_home/data/plugins" /var/lib/grafana/plugins; do
        [[ -n $folder && -f $folder/$infinity/plugin.json ]] && { echo "$folder"; return; }
    done
    return 1
}

start_grafana() {
    local plugins
    rm -rf "$state/dashboards"
    cp -r "$repo/grafana/dashboards" "$state/dashboards"
    # Where links to the registry lead.
    sed -i "s|http://127\.0\.0\.1:8080|$registry_url|g" "$state"/dashboards/*/*.json
    if ! plugins=$(find_plugins); then
        plugins=$state/grafana-plugins
        mkdir -p "$plugins"
        needs_infinity=true
    fi
    # The operator's read token: Prometheus has the same.
    REGISTRY_TOKEN=$(<"$state/prometheus/registry.token") REGISTRY_URL=$registry_url PROMETHEUS_URL=$prometheus_url \
        TEMPO_URL=http://127.0.0.1:3200 DASHBOARDS_PATH=$state/dashboards \
        GF_SERVER_HTTP_ADDR=127.0.0.1 GF_SERVER_HTTP_PORT=$grafana_port GF_SERVER_ROOT_URL=$grafana_url/ \
        GF_PATHS_DATA=$state/grafana GF_PATHS_LOGS=$state/grafana/log GF_PATHS_PLUGINS=$plugins \
        GF_PATHS_PROVISIONING=$repo/grafana/provisioning GF_LOG_MODE=console GF_LOG_LEVEL=warn \
        GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH=$state/dashboards/provider/pictor-summary.json \
        GF_DASHBOARDS_MIN_REFRESH_INTERVAL=15s GF_PLUGIN_PAGINATION_MAX_PAGES=10 \
        GF_AUTH_ANONYMOUS_ENABLED=true GF_AUTH_ANONYMOUS_ORG_ROLE=Viewer GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION=true \
        GF_PLUGINS_PREINSTALL_DISABLED=true GF_ANALYTICS_REPORTING_ENABLED=false GF_ANALYTICS_CHECK_FOR_UPDATES=false \
        GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED=true GF_NEWS_NEWS_FEED_ENABLED=false \
        start grafana "$grafana" server --homepath "$grafana_home"
}

dashboards_are_there() {
    local file
    for file in "$state"/dashboards/*/*.json; do
        curl -fsS --max-time 10 "$grafana_url/api/dashboards/uid/$(basename "$file" .json)" || return
    done
}

await_grafana() {
    wait_until 180 grafana "Grafana is ready" curl -fsS --max-time 10 "$grafana_url/api/health"
    wait_until 60 grafana "Grafana has read the dashboards" dashboards_are_there
}

# What the invitation says about it.
where_grafana_is() {
    if ! $with_grafana; then
        echo "${no_grafana:-not started}"
        return
    fi
    echo "$grafana_url"
    if ${needs_infinity:-false}; then
        cat <<TEXT
                Its tables of workers and tasks stay empty without a plugin. Install it once, and start this again:
                $grafana cli --homepath $grafana_home --pluginsDir $state/grafana-plugins plugins install $infinity
TEXT
    fi
}
