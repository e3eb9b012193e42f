// Draws the Mermaid diagrams in the colours of the page, and again when the reader switches between light and dark.
(() => {
  const isDark = () => document.documentElement.dataset.theme === "dark";

  // A wide drawing shrinks a little to fit its column; below that its box scrolls. The box is the image, and has the
  // text alternative.
  const fit = (svg) => {
    const width = svg.viewBox.baseVal.width;
    Object.assign(svg.style, { width: "100%", maxWidth: `${width}px`, minWidth: `${0.7 * width}px` });
    svg.removeAttribute("height");
    for (const name of ["role", "aria-roledescription", "aria-labelledby", "aria-describedby"]) svg.removeAttribute(name);
    svg.setAttribute("aria-hidden", "true");
  };

  const draw = async () => {
    const diagrams = [...document.querySelectorAll(".book-diagram > pre.mermaid")];
    if (!diagrams.length || !window.mermaid) return;
    const theme = isDark() ? "dark" : "default";
    window.mermaid.initialize({
      startOnLoad: false,
      securityLevel: "strict",
      theme,
      // the dark theme's own ground for labels on arrows is too light for its text
      themeVariables: isDark() ? { edgeLabelBackground: "#333333" } : {},
      fontFamily: getComputedStyle(document.body).fontFamily,
      flowchart: { useMaxWidth: false, htmlLabels: true },
      sequence: { useMaxWidth: false },
      class: { useMaxWidth: false },
      state: { useMaxWidth: false },
      gantt: { useMaxWidth: false },
    });
    for (const [index, element] of diagrams.entries()) {
      element.bookSource ??= element.textContent;
      try {
        const { svg } = await window.mermaid.render(`book-diagram-${index}-${theme}`, element.bookSource);
        element.innerHTML = svg;
        fit(element.querySelector("svg"));
        element.dataset.drawn = theme;
      } catch (error) {
        element.textContent = element.bookSource;
        element.dataset.drawn = "error";
        document.getElementById(`dbook-diagram-${index}-${theme}`)?.remove();
        console.error(`diagram ${index + 1}: ${error.message ?? error}`);
      }
    }
    document.dispatchEvent(new CustomEvent("book:diagrams-drawn"));
  };

  let queue = Promise.resolve();
  const drawNext = () => { queue = queue.then(draw); };
  document.addEventListener("DOMContentLoaded", () => {
    drawNext();
    let shown = isDark();
    new MutationObserver(() => {
      if (isDark() !== shown) { shown = isDark(); drawNext(); }
    }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  });
})();
