"use strict";
// Comfort and live updates; every page works without it.

// The browser's zone, so that the next page's times are the visitor's.
document.cookie = `pictor_zone=${encodeURIComponent(Intl.DateTimeFormat().resolvedOptions().timeZone)};path=/;max-age=31536000;samesite=lax`;

// <main data-live="/path">: parts of the page come as {element id: HTML} and take the place of what was there.
// Only elements whose HTML differs are written. A button there that has the focus and an id keeps it; another element
// that has the focus, a field say, keeps its part as it is.
let source;
function write(event) {
  for (const [id, html] of Object.entries(JSON.parse(event.data))) {
    const element = document.getElementById(id);
    const focused = element?.contains(document.activeElement) ? document.activeElement : null;
    const stays = focused && !(focused.id && focused.matches("button, a"));
    if (element && !stays && element.dataset.html !== html) {
      element.innerHTML = html;
      element.dataset.html = html;
      if (focused) document.getElementById(focused.id)?.focus({ preventScroll: true });
    }
  }
  refreshAges();
}

// Only a page that is looked at is watched: browsers open few connections to one server, all tabs together.
function watch() {
  source?.close();
  const { live } = document.querySelector("main").dataset;
  if (!live || document.hidden) return;
  source = new EventSource(live);
  source.onmessage = write;
  source.onopen = () => document.dispatchEvent(new CustomEvent("heard"));
  source.onerror = ({ target }) => document.dispatchEvent(new CustomEvent("lost", { detail: target.readyState }));
  // Some pages' streams bring lines of logs besides.
  source.addEventListener("log", (event) => document.dispatchEvent(new CustomEvent("log", { detail: JSON.parse(event.data) })));
}

// <time data-ages>: "3 min ago" goes on by itself.
function refreshAges() {
  for (const time of document.querySelectorAll("time[data-ages]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
    const [size, unit] = seconds < 60 ? [1, "s"] : seconds < 3600 ? [60, "min"] : seconds < 86400 ? [3600, "h"] : [86400, "d"];
    time.textContent = seconds < 5 ? "just now" : `${Math.floor(seconds / size)} ${unit} ago`;
  }
}

// <form data-search="results">: what is typed is searched for; the element with that id is taken from the answer.
function searchAsYouType(form) {
  const target = form.dataset.search;
  let wait, asked;
  const ask = async () => {
    asked?.abort();
    asked = new AbortController();
    const url = `${form.action.split("?")[0]}?${new URLSearchParams(new FormData(form))}`;
    try {
      const answer = await fetch(url, { signal: asked.signal, headers: { accept: "text/html" } });
      if (!answer.ok || answer.redirected) { location.assign(url); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      document.getElementById(target).replaceWith(document.adoptNode(page.getElementById(target)));
      Object.assign(document.querySelector("main").dataset, page.querySelector("main").dataset);
      watch();
      history.replaceState(null, "", url);
      document.dispatchEvent(new Event("results"));
    } catch (error) {
      if (error.name !== "AbortError") location.assign(url);
    }
  };
  form.addEventListener("input", () => { clearTimeout(wait); wait = setTimeout(ask, 200); });
  form.addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(wait); ask(); });
}

document.addEventListener("click", async (event) => {
  // <button data-copy="id">: copies the text of the element.
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent);
    const label = copy.textContent;
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = label; }, 1500);
  }
});

// When all scripts have run: what they listen for may come at once.
document.addEventListener("DOMContentLoaded", watch);
document.addEventListener("visibilitychange", watch);
addEventListener("pagehide", () => source?.close());
addEventListener("pageshow", (event) => { if (event.persisted) watch(); });
for (const form of document.querySelectorAll("form[data-search]")) searchAsYouType(form);
// Buttons that only a script can serve are hidden without one.
for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
setInterval(refreshAges, 1000);
