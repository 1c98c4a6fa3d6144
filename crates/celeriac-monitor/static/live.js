// Keeps the open page fresh: whenever the server says that something changed, the page fetches itself and swaps its content.
// Nothing is swapped while somebody types, selects, ticks or has a finger on the page's forms.
(() => {
  const button = document.getElementById("live");
  const main = document.getElementById("main");
  if (!button || !main || !window.EventSource) return;
  let on = sessionStorage.getItem("live") !== "off";
  let source = null;
  let busy = false;

  const word = (text, state) => {
    button.querySelector(".word").textContent = text;
    button.dataset.state = state;
    button.setAttribute("aria-pressed", String(on));
  };
  const inUse = () => {
    const active = document.activeElement;
    const typing = active && main.contains(active) && active.matches("input, textarea, select");
    const ticked = main.querySelector('input[name="entry"]:checked');
    const selection = String(window.getSelection() || "") !== "";
    return typing || ticked || selection || document.hidden;
  };
  const refresh = async () => {
    if (busy || inUse()) return;
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
      if (!fresh || fresh.innerHTML === main.innerHTML || inUse()) return;
      const open = [...main.querySelectorAll("details")].map((d) => d.open);
      const focused = document.activeElement && main.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      const scrolled = [...main.querySelectorAll(".scroll")].map((s) => s.scrollLeft);
      main.replaceChildren(...fresh.childNodes);
      main.querySelectorAll("details").forEach((d, i) => { if (i < open.length) d.open = open[i]; });
      main.querySelectorAll(".scroll").forEach((s, i) => { if (i < scrolled.length) s.scrollLeft = scrolled[i]; });
      if (focused) { const again = main.querySelector(`a[href="${CSS.escape(focused)}"]`); if (again) again.focus({ preventScroll: true }); }
    } catch { word("Offline", "off"); } finally { busy = false; }
  };
  const start = () => {
    source = new EventSource("/live");
    source.onopen = () => word("Live", "on");
    source.onerror = () => word("Reconnecting", "off");
    source.addEventListener("change", refresh);
  };
  const stop = () => { if (source) source.close(); source = null; word("Paused", "off"); };
  button.hidden = false;
  button.addEventListener("click", () => {
    on = !on;
    sessionStorage.setItem("live", on ? "on" : "off");
    if (on) { start(); refresh(); } else stop();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && on) refresh(); });
  window.addEventListener("pagehide", () => { if (source) source.close(); });
  window.addEventListener("pageshow", (event) => { if (event.persisted && on) start(); });
  if (on) start(); else stop();
})();
