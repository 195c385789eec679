// Loads the parts of the page side by side, draws the charts, and sends the forms.
"use strict";

// Within Airflow the page follows Airflow's own choice of light or dark, else the system's.
function followTheme() {
  if (window.parent === window) return;
  const airflow = window.parent.document.documentElement;
  const follow = () => {
    document.documentElement.dataset.theme = airflow.classList.contains("dark") ? "dark" : "light";
  };
  follow();
  new MutationObserver(() => { follow(); drawAll(); }).observe(airflow, { attributeFilter: ["class"] });
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const say = (text) => { document.getElementById("message").textContent = text; };

async function answerOf(response) {
  const body = await response.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : JSON.stringify(body.detail || "");
  if (!response.ok) throw new Error(detail || `Airflow refused (${response.status}).`);
  return body;
}

async function loadPart(place) {
  try {
    const response = await fetch(`parts/${place.dataset.part}`, { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error((await response.json()).detail);
    place.innerHTML = await response.text(); // escaped by the server
  } catch (error) {
    place.textContent = `This cannot be shown now: ${error.message}`;
  }
  place.setAttribute("aria-busy", "false");
}

const loadParts = () => Promise.all([...document.querySelectorAll("[data-part]")].map(loadPart));

async function draw(place) {
  const summary = document.querySelector(`[data-summary="${place.dataset.chart}"]`);
  try {
    const data = await answerOf(await fetch(`charts/${place.dataset.chart}`));
    if (!data.at.length) { summary.textContent = "no look of the monitor in this time"; return; }
    const known = (values) => values.filter((value) => value !== null);
    const last = (values) => known(values).at(-1);
    const lag = last(data.backlog_age), most = Math.max(0, ...known(data.backlog_age));
    summary.textContent = `lag now ${lag === undefined ? "unknown" : Math.round(lag) + " s"}, `
      + `at most ${Math.round(most)} s; ${(last(data.rate) || 0).toFixed(1)} records/s now`;
    place.replaceChildren();
    const axis = () => ({ stroke: colour("--ink"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } });
    new uPlot({
      width: Math.max(280, place.clientWidth),
      height: 220,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      scales: { rate: { range: (_, low, high) => [0, Math.max(1, high)] }, y: { range: (_, low, high) => [0, Math.max(10, high)] } },
      axes: [{ ...axis(), values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toISOString().slice(11, 16)) }, { ...axis(), label: "seconds" }, { ...axis(), scale: "rate", side: 1, label: "records/s", grid: { show: false } }],
      series: [
        { label: "UTC" },
        { label: "lag (s)", stroke: colour("--bad"), width: 2 },
        { label: "Kafka to silver, p95 (s)", stroke: colour("--warn"), width: 1 },
        { label: "records/s", stroke: colour("--link"), width: 1, scale: "rate" },
      ],
    }, [data.at, data.backlog_age, data.latency_p95, data.rate], place);
  } catch (error) {
    summary.textContent = `cannot be shown now: ${error.message}`;
  }
}

const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);

async function send(form) {
  const response = await fetch(form.dataset.send, {
    method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "X-Medallion-Form": "1" },
  });
  say((await answerOf(response)).done);
  await loadPart(document.querySelector('[data-part="incidents"]'));
}

const moment = (text) => (text ? `${text.length === 16 ? text + ":00" : text}+00:00` : null);
const seconds = (count) => new Promise((done) => setTimeout(done, count * 1000));

async function replay(form, isDryRun) {
  const outcome = form.querySelector(".outcome"), sendButton = form.querySelector('[value="false"]');
  const given = new FormData(form), api = `../api/v2/dags/${form.dataset.replay}`;
  const conf = {
    reasons: given.get("reasons").split(",").map((one) => one.trim()).filter(Boolean),
    from: moment(given.get("from")), to: moment(given.get("to")), dry_run: isDryRun,
  };
  sendButton.disabled = true;
  const run = await answerOf(await fetch(`${api}/dagRuns`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ logical_date: null, conf }),
  }));
  outcome.textContent = `Run ${run.dag_run_id} has started.`;
  const address = `${api}/dagRuns/${encodeURIComponent(run.dag_run_id)}`;
  for (let tries = 0; isDryRun && tries < 60; tries += 1) {
    await seconds(2);
    const state = (await answerOf(await fetch(address))).state;
    if (state === "failed") throw new Error(`Run ${run.dag_run_id} failed: see its log.`);
    if (state !== "success") continue;
    const found = await answerOf(await fetch(`${address}/taskInstances/count_rows/xcomEntries/return_value?deserialize=true`));
    const counts = Object.entries(found.value).map(([name, count]) => `${name} ${count}`).join(", ");
    outcome.textContent = `Open rows: ${counts}. Nothing was sent.`;
    sendButton.disabled = !found.value.rows;
    return;
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  event.preventDefault();
  if (form.dataset.send) send(form).catch((error) => say(`Not done: ${error.message}`));
  if (form.dataset.replay) {
    replay(form, event.submitter === null || event.submitter.value === "true").catch((error) => {
      form.querySelector(".outcome").textContent = `Not done: ${error.message}`;
    });
  }
});
// What was counted is what may be sent: another choice has to be counted again.
document.addEventListener("input", (event) => {
  const form = event.target.closest("[data-replay]");
  if (form) form.querySelector('[value="false"]').disabled = true;
});

followTheme();
loadParts().then(() => document.documentElement.setAttribute("data-ready", "true"));
drawAll();
setInterval(() => {
  // Whoever fills in a form is not interrupted.
  if (!document.hidden && !document.activeElement.closest("form")) { loadParts(); drawAll(); }
}, 60000);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
