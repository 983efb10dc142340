"""A worker with a real agent, and its app as the programs of its machine find it."""

import http.client
import json

import browser
from network import Network, fake_gpus
from processes import built, run
from waiting import PATIENCE_SECONDS, until


def file_of(network, provider, name):
    """A new worker, and its config file; it renders on the processor."""
    worker = network.worker(provider, name)
    file = network.download(provider, worker)
    file.write_text(file.read_text() + '\n[blender]\ndevice = "cpu"\n')
    return worker, file


def link_in(data, agent, before=None):
    """How local programs find the app of an agent with this data folder; of its new start, where one was known before."""
    file = data / "app.json"

    def look():
        agent.is_running()
        link = json.loads(file.read_text()) if file.exists() else None
        return link != before and link

    return until("the app's link", look)


def save(page, label, value):
    """Sends one setting; the page is then the answer to that."""
    page.get_by_label(label, exact=True).fill(value)
    browser.go(page.get_by_role("button", name=f"Save: {label}"))


class Worker:
    """An agent of a network of its own; `url` is where its app is."""

    def __init__(self, name="render-box", gpus=None):
        """With the GPUs of a profile of the fake driver, or with one slot on the processor."""
        self.network = Network()
        try:
            self.provider = self.network.account("ada", "provider")
            self.creator = self.network.account("cleo", "creator", credit="10")
            self.made = self.network.worker(self.provider, name)
            self.data = self.network.folder / f"{name}-data"
            self.config = self.network.folder / f"{name}.toml"
            downloaded = self.network.download(self.provider, self.made)
            settings = fake_gpus(self.network.folder / "gpus", gpus) if gpus else ""
            self.agent = self.network.start_agent(name, downloaded, settings, "gpu" if gpus else "cpu")
            self.link = link_in(self.data, self.agent)
            self.url = f"http://{self.link['address']}"
            self.network.is_status(self.provider, self.made, "idle")
        except BaseException:
            self.network.stop()
            raise

    def stop(self):
        self.network.stop()

    def entrance(self):
        """What a browser opens."""
        return f"{self.url}/?key={self.link['key']}"

    def call(self, method, path, headers=None, body=None):
        """One request with exactly these headers; status, headers and body."""
        host, port = self.link["address"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE_SECONDS)
        try:
            connection.putrequest(method, path, skip_host=True)
            sent = {"Host": self.link["address"]} | (headers or {})
            if body is not None:
                sent |= {"Content-Length": str(len(body)), "Content-Type": "application/x-www-form-urlencoded"}
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def bearer(self):
        return {"Authorization": f"Bearer {self.link['key']}"}

    def status(self):
        status, _, body = self.call("GET", "/app/status", self.bearer())
        assert status == 200, body
        return json.loads(body)

    def terminal(self):
        """What `pictor-agent status` prints."""
        return run(built("pictor-agent"), "status", "--data", self.data)

