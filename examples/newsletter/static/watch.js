// Keeps the progress of one send up to date. Without it the page refreshes itself.
const main = document.querySelector("main[data-send]");
const source = new EventSource(`/sends/${main.dataset.send}/events`);
source.onmessage = ({ data }) => {
  const now = JSON.parse(data);
  const done = now.sent + now.failed;
  document.querySelector("progress").max = Math.max(now.total, 1);
  document.querySelector("progress").value = now.total ? done : 1;
  for (const name of ["sent", "failed", "repeated", "total"]) document.getElementById(name).textContent = now[name];
  document.getElementById("error").textContent = now.last_error ?? "";
  if (now.summary) {
    document.getElementById("summary").textContent = now.summary;
    source.close();
  }
};
