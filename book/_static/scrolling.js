// Wide tables, code, formulas and diagrams scroll inside their own box; this puts tables in one, and lets the keyboard
// reach every box that has something to scroll.
(() => {
  const BOXES = [
    ".book-diagram", ".book-table", ".cell_output .output", ".cell_output pre", "div.highlight pre", "div.math",
    ".cell_output .text_html", ".pst-scrollable-table-container", "mjx-container[display='true']",
  ].join(", ");

  const wrapTables = () => {
    document.querySelectorAll(".bd-article table").forEach((table) => {
      if (table.closest(".book-table, .pst-scrollable-table-container")) return;
      const box = document.createElement("div");
      box.className = "book-table";
      table.replaceWith(box);
      box.append(table);
    });
  };

  const letTheKeyboardIn = () => {
    document.querySelectorAll(BOXES).forEach((box) => {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls) box.setAttribute("tabindex", "0");
      else box.removeAttribute("tabindex");
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    wrapTables();
    letTheKeyboardIn();
    new ResizeObserver(letTheKeyboardIn).observe(document.body);
  });
  document.addEventListener("book:diagrams-drawn", letTheKeyboardIn);
  window.addEventListener("load", () => {
    window.MathJax?.startup?.promise?.then(letTheKeyboardIn);
    letTheKeyboardIn();
  });
})();
