const dark = matchMedia("(prefers-color-scheme: dark)");

const paint = () => {
  const look = getComputedStyle(document.documentElement);
  const [ink, line] = ["--ink", "--line"].map((name) => look.getPropertyValue(name).trim());
  const axes = Object.fromEntries(
    ["xaxis", "yaxis"].flatMap((axis) => ["gridcolor", "linecolor", "tickcolor"].map((part) => [`${axis}.${part}`, line])),
  );
  const charts = document.querySelectorAll(".plotly-graph-div");
  for (const chart of charts) {
    const legend = innerWidth < 600 && chart !== charts[0] ? { showlegend: false } : {}; // the first chart's legend serves all
    Plotly.relayout(chart, { "font.color": ink, "modebar.color": ink, autosize: true, ...axes, ...legend });
  }
};

dark.addEventListener("change", paint);
addEventListener("load", paint);
