
const LINES_MAX = 2000;

// Without the stream the page shows what was. A new start of the agent has a new key, which this page has not.
document.addEventListener("lost", ({ detail }) => {
  document.getElementById("lost").hidden = false;
  if (detail === EventSource.CLOSED) location.reload();
});
document.addEventListener("heard", () => { document.getElementById("lost").hidden = true; });

// The render logs: lines come numbered over the page's stream. A new task's take the place of the last one's.
for (const log of document.querySelectorAll("[data-log]")) {
  const slot = Number(log.dataset.log);
  const follow = document.querySelector(`[data-follow="${slot}"]`);
  const hold = document.querySelector(`[data-hold="${slot}"]`);
  const state = document.getElementById(`log-state-${slot}`);
  const isOn = (button) => button.getAttribute("aria-pressed") === "true";
  const set = (button, on) => button.setAttribute("aria-pressed", String(on));
  const waiting = [];
  let next = 0, attempt = null;

  const show = ({ attempt_id, first, from, lines }) => {
    if (attempt_id !== attempt) {
      log.textContent = "";
      attempt = attempt_id;
      next = first;
    }
    const fresh = lines.slice(Math.max(0, next - from));
    next = Math.max(next, from + lines.length);
    for (const line of fresh) log.append(`${line}\n`);
    while (log.childNodes.length > LINES_MAX) log.firstChild.remove();
    if (isOn(follow)) log.scrollTop = log.scrollHeight;
  };
  document.addEventListener("log", ({ detail }) => {
    if (detail.slot !== slot) return;
    if (!isOn(hold)) { show(detail); return; }
    waiting.push(detail);
    // Nobody reads more than is shown.
    if (waiting.length > 200) waiting.shift();
    state.textContent = "Paused: more has come.";
  });
  hold.addEventListener("click", () => {
    set(hold, !isOn(hold));
    state.textContent = isOn(hold) ? "Paused." : "";
    if (!isOn(hold)) waiting.splice(0).forEach(show);
  });
  follow.addEventListener("click", () => {
    set(follow, !isOn(follow));
    if (isOn(follow)) log.scrollTop = log.scrollHeight;
  });
  // Who scrolls up wants to read there.
  log.addEventListener("scroll", () => set(follow, log.scrollTop + log.clientHeight >= log.scrollHeight - 8));
}

// <div data-drop="id">: a file that is chosen or dropped there is read into that text field.
for (const zone of document.querySelectorAll("[data-drop]")) {
  const read = async (file) => { if (file) document.getElementById(zone.dataset.drop).value = await file.text(); };
  zone.querySelector("input").addEventListener("change", (event) => read(event.target.files[0]));
  for (const type of ["dragover", "dragleave", "drop"]) {
    zone.addEventListener(type, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", type === "dragover");
      if (type === "drop") read(event.dataTransfer.files[0]);
    });
  }
}

// <p data-await="/path">: goes there as soon as the agent answers again.
for (const { dataset } of document.querySelectorAll("[data-await]")) {
  const look = async () => {
    let wait = 300;
    try {
      // The agent that starts has this page's key; the one that ends has no such route.
      if ((await fetch("/app/status", { signal: AbortSignal.timeout(2000) })).ok) {
        location.assign(dataset.await);
        // Going there takes its time on a busy machine, and can fail.
        wait = 5000;
      }
    } catch { /* Not yet there. */ }
    setTimeout(look, wait);
  };
  look();
}
