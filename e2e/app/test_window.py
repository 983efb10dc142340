"""The desktop window, on a screen without a monitor, with real agents behind it."""

import json

import pytest
from processes import Process, built, free_port, run
from screen import Screen, colours
from waiting import until
from worker import Worker, file_of, link_in


@pytest.fixture(scope="module")
def screen():
    screen = Screen()
    yield screen
    screen.stop()


@pytest.fixture(scope="module")
def bare_screen():
    """A desktop without a tray."""
    screen = Screen(has_tray=False)
    yield screen
    screen.stop()


@pytest.fixture(autouse=True)
def no_app_is_left(screen):
    yield
    screen.end_apps()


@pytest.fixture(scope="module")
def worker():
    """A machine whose agent runs already, as a service does."""
    worker = Worker()
    yield worker
    worker.stop()


class Machine:
    """A machine without an agent."""

    def __init__(self, network, ada, name):
        self.network, self.ada, self.name = network, ada, name
        self.config, self.data = network.folder / f"{name}.toml", network.folder / f"{name}-data"
        self.flags = ["--config", self.config, "--data", self.data, "--listen", f"127.0.0.1:{free_port()}"]

    def downloaded(self, name):
        """A new worker, and its config file."""
        return file_of(self.network, self.ada, name)

    def start_agent(self):
        agent = Process(f"agent-{self.name}", self.network.folder, built("pictor-agent"), "run", *self.flags)
        self.network.agents.append(agent)
        return agent

    def is_status(self, worker, status):
        return self.network.is_status(self.ada, worker, status)

    def link(self):
        file = self.data / "app.json"
        return json.loads(file.read_text()) if file.exists() else None


@pytest.fixture
def machine(network, ada, request):
    return Machine(network, ada, request.node.name.removeprefix("test_").replace("_", "-")[:40])


def flags(worker):
    return ["--config", worker.config, "--data", worker.data]


def port(worker):
    return int(worker.link["address"].rsplit(":")[1])


def pause(worker, desired):
    assert worker.call("POST", "/pause", worker.bearer(), f"desired={desired}".encode())[0] < 400


# In the window, at its usual size.
SETTINGS_TAB, BELOW_TABS = (412, 26), 60
BRAND, RESUME, CURRENT = (0x4F, 0x46, 0xE5), (0x43, 0x38, 0xCA), (0xE8, 0xE8, 0xFD)


def test_it_shows_the_running_agents_page_and_follows_it(screen, worker):
    app = screen.start_app(*flags(worker))
    window = app.window("Rendering · render-box")
    until("the page's stream", lambda: app.page_connections(port(worker)) > 0)

    def is_drawn():
        seen = colours(screen.picture(window))
        return max(seen.values()) < 0.9 and len(seen) > 20 and BRAND in seen and seen

    before = until("the page is drawn", is_drawn)
    pause(worker, "paused")
    # A button that was not there, with nothing pressed here.
    more = before.get(RESUME, 0) + 0.002
    until("the pause is seen", lambda: colours(screen.picture(window)).get(RESUME, 0) > more)
    pause(worker, "active")

    app.choose("Quit (the agent keeps running)")
    assert app.ended()[0] == 0
    assert worker.status()["desired_here"] == "active"


def test_its_cross_leaves_it_in_the_tray_and_a_second_start_brings_it_back(screen, worker):
    app = screen.start_app(*flags(worker))
    app.window().close()
    until("the window is gone", app.has_no_window)
    code, said = screen.start_app(*flags(worker)).ended()
    assert code == 0 and "open already" in said
    window = app.window()
    until("it is in front", window.is_active)

    window.close()
    until("the window is gone", app.has_no_window)
    app.choose("Open")
    app.window()
    assert len(app.windows()) == 1
    app.choose("Quit (the agent keeps running)")
    assert app.ended()[0] == 0


def test_the_tray_pauses_and_resumes(screen, worker):
    app = screen.start_app(*flags(worker), "--hidden")
    app.choose("Pause")
    until("the pause", lambda: worker.status()["desired_here"] == "paused")
    assert app.has_no_window()
    app.choose("Resume")
    until("it goes on", lambda: worker.status()["desired_here"] == "active")
    # What is done elsewhere is known here.
    pause(worker, "draining")
    until("the tray knows", lambda: "Resume" in app.tray_menu())
    pause(worker, "active")
    app.choose("Quit (the agent keeps running)")
    assert app.ended()[0] == 0


def test_an_agent_that_is_started_anew_is_found_again(screen, machine):
    worker, file = machine.downloaded("restarted")
    run(built("pictor-agent"), "import", file, "--config", machine.config)
    agent = machine.start_agent()
    first = link_in(machine.data, agent)
    app = screen.start_app(*machine.flags)
    app.window("Rendering · restarted")
    agent.stop()
    second = link_in(machine.data, machine.start_agent(), before=first)
    assert second["key"] != first["key"]
    port = int(second["address"].rsplit(":")[1])
    until("its page's stream", lambda: app.page_connections(port) > 0)
    until("the tray knows", lambda: "Pause" in app.tray_menu())
    app.choose("Quit (the agent keeps running)")
    assert app.ended()[0] == 0
    machine.is_status(worker, "idle")


def test_it_starts_the_agent_and_ends_with_it(screen, machine):
    worker, file = machine.downloaded("own")
    # Two at once: one agent, one window.
    apps = [screen.start_app(*machine.flags, file) for _ in range(2)]
    until("one of them hands over", lambda: any(app.process.child.poll() == 0 for app in apps))
    [app] = [app for app in apps if app.process.child.poll() is None]
    app.window("Rendering · own")
    machine.is_status(worker, "idle")
    assert machine.link()["pid"] == app.pid and machine.config.stat().st_mode & 0o777 == 0o600
    app.choose("Quit (rendering stops)")
    # Who changes their mind is the next one, not told of a window that goes.
    again = screen.start_app(*machine.flags)
    assert app.ended()[0] == 0
    again.window("Rendering · own")
    again.choose("Quit (rendering stops)")
    assert again.ended()[0] == 0
    assert machine.is_status(worker, "offline")["offline_reason"] == "stopped"
    assert machine.link() is None


def test_an_opened_file_is_asked_about_where_the_machine_is_a_worker(screen, machine):
    first, file = machine.downloaded("first")
    second, other = machine.downloaded("second")
    app = screen.start_app(*machine.flags, file)
    app.window("Rendering · first")

    assert screen.start_app(*machine.flags, other).ended()[0] == 0
    app.answer("Escape")
    assert len(app.windows()) == 1
    assert "first" in machine.config.read_text()

    assert screen.start_app(*machine.flags, other).ended()[0] == 0
    app.answer("alt+i")
    app.window("Rendering · second")
    machine.is_status(second, "idle")
    assert machine.is_status(first, "offline")["offline_reason"] == "stopped"


def test_without_a_tray_it_does_not_vanish(bare_screen, machine, worker):
    attached = bare_screen.start_app(*flags(worker))
    attached.window().close()
    assert attached.ended()[0] == 0
    assert worker.status()["worker_name"] == "render-box"

    made, file = machine.downloaded("untrayed")
    app = bare_screen.start_app(*machine.flags, file)
    window = app.window("Rendering")

    window.close()
    app.answer("alt+m")
    until("it is minimised", window.is_minimised)
    machine.is_status(made, "idle")
    window.activate()
    window.close()
    app.answer("alt+q")
    assert app.ended()[0] == 0
    assert machine.is_status(made, "offline")["offline_reason"] == "stopped"


def test_without_a_screen_the_link_is_told(screen, worker):
    code, said = screen.start_app(*flags(worker), DISPLAY=None, BROWSER="false").ended()
    assert code == 0 and "No window is opened" in said and worker.entrance() in said
    code, said = screen.start_app(*flags(worker), DISPLAY=":4242", BROWSER="false").ended()
    assert code == 0 and worker.entrance() in said

    ssh = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22", "USER": "ada", "DISPLAY": None}
    code, said = screen.start_app(*flags(worker), **ssh).ended()
    assert code == 0 and worker.entrance() in said
    assert f"ssh -L {port(worker)}:{worker.link['address']} ada@192.0.2.1" in said


def test_the_browser_is_opened_in_its_place(screen, worker):
    before = screen.visited()
    assert screen.start_app(*flags(worker), "--browser").ended()[0] == 0
    until("the browser", lambda: screen.visited()[len(before):] == [worker.entrance()])


def test_the_console_opens_in_the_browser_and_not_in_the_window(screen, worker):
    before = screen.visited()
    app = screen.start_app(*flags(worker))
    window = app.window("Rendering")
    until("the page is drawn", lambda: BRAND in colours(screen.picture(window)))
    screen.click(window, *SETTINGS_TAB)
    window = app.window("Settings")

    def link():
        """Below the tabs, the first words in a link's colour, once the tab is the current one."""
        picture = screen.picture(window).convert("RGB")
        if picture.getpixel((SETTINGS_TAB[0], SETTINGS_TAB[1] - 14)) != CURRENT:
            return None
        places = ((x, y) for y in range(BELOW_TABS, picture.height) for x in range(picture.width))
        return next((place for place in places if picture.getpixel(place) == RESUME), None)

    screen.click(window, *until("a link to the console", link))
    url = until("the browser", lambda: screen.visited()[len(before):])
    assert url == [f"{worker.network.url}/account"]
    assert app.window("Settings")


def test_a_machine_without_a_config_file_begins_with_its_first_run(screen, machine):
    app = screen.start_app(*machine.flags)
    app.window("First run")
    nonsense = machine.network.folder / "pictor-worker-nonsense.toml"
    nonsense.write_text("registry = 1\n")
    assert screen.start_app(*machine.flags, nonsense).ended()[0] == 0
    app.answer("Escape")
    assert len(app.windows()) == 1

    worker, file = machine.downloaded("newcomer")
    assert screen.start_app(*machine.flags, file).ended()[0] == 0
    app.window("Rendering · newcomer")
    machine.is_status(worker, "idle")


def test_an_enrolment_key_makes_a_worker_before_the_window_opens(screen, machine):
    made = machine.network.ask(machine.ada, "POST", "/v1/enrolments", {"name_pattern": "window-{n}", "count": 1})
    enrol = ["--enrol", made["key"], "--registry", machine.network.url]
    app = screen.start_app(*machine.flags, *enrol)
    app.window("Rendering · window-1")
    [worker] = [worker for worker in machine.network.ask(machine.ada, "GET", "/v1/workers")["items"] if worker["name"] == "window-1"]
    machine.is_status(worker, "idle")
    app.choose("Quit (rendering stops)")
    assert app.ended()[0] == 0
    # The key is spent; the machine is a worker already.
    app = screen.start_app(*machine.flags, *enrol)
    app.window("Rendering · window-1")


def test_it_starts_with_the_session_if_wanted(screen, worker):
    entry = screen.environment["XDG_CONFIG_HOME"] / "autostart/pictor-agent.desktop"
    enrol = ["--enrol", "secret", "--registry", "https://registry.example"]
    assert screen.start_app(*flags(worker), "--metrics-token-file", "/etc/token", *enrol, "--autostart", "on").ended()[0] == 0
    text = entry.read_text()
    assert f"app --hidden --config {worker.config} --data {worker.data} --metrics-token-file /etc/token\n" in text
    assert screen.start_app("--autostart", "off").ended()[0] == 0
    assert not entry.exists()
