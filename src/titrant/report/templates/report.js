(() => {
  "use strict";
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const touch = matchMedia("(pointer: coarse)").matches;
  const token = /^var\((--[a-z]+)\)$/;

  // Plotly cannot read CSS variables, so every colour name in a figure is looked up for the theme in force.
  const themed = (value, style) => {
    if (typeof value === "string") {
      const found = token.exec(value);
      return found ? style.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => themed(item, style));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item, style)]));
  };

  const draw = (width) => {
    const style = getComputedStyle(root);
    for (const [id, figure] of Object.entries(figures)) {
      const place = document.getElementById(id);
      const { data, layout } = themed(figure, style);
      const narrow = (width ?? place.clientWidth) < 480;
      Object.assign(layout, {
        autosize: !width,
        width,
        height: place.clientHeight,
        font: { ...layout.font, size: narrow ? 11 : 13 },
        // A finger that drags over a chart wants to scroll the page.
        dragmode: touch ? false : "zoom",
      });
      Plotly.react(place, data, layout, {
        responsive: true,
        displayModeBar: false,
      });
    }
  };

  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    root.dataset.print = "";
    draw(660);
  });
  addEventListener("afterprint", () => {
    delete root.dataset.print;
    draw();
  });

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.addEventListener("click", async () => {
      const text = document.getElementById(button.dataset.copy);
      const label = button.textContent;
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = button.dataset.done;
        setTimeout(() => { button.textContent = label; }, 1500);
      } catch {
        getSelection().selectAllChildren(text);
      }
    });
  }
})();
