// Keeps the progress of one send up to date. Without it the page refreshes itself.
const main = document.querySelector("main[data-send]");
const at = (id) => document.getElementById(id);
const source = new EventSource(`/sends/${main.dataset.send}/events`);
source.onmessage = ({ data }) => {
  const now = JSON.parse(data);
  const done = now.sent + now.failed + now.unsubscribed;
  const bar = document.querySelector("progress");
  bar.max = Math.max(now.total, 1);
  bar.value = now.total ? done : 1;
  at("percent").textContent = `${now.total ? Math.floor((done * 100) / now.total) : 100} %`;
  for (const name of ["sent", "failed", "unsubscribed", "repeated"]) at(name).textContent = now[name];
  at("error").textContent = now.last_error ?? "";
  at("error").hidden = !now.last_error;
  if (now.summary) {
    at("progress-title").textContent = "Done";
    at("summary").textContent = now.summary;
    at("summary").classList.add("good");
    source.close();
  }
};
