// Gives the theme's controls names that say what they show, so that voice control and screen readers agree.
document.addEventListener("DOMContentLoaded", () => {
  // the visible text (such as "Search Ctrl + K") is the better name
  document.querySelectorAll("button.search-button-field").forEach((button) => {
    button.removeAttribute("aria-label");
    button.removeAttribute("title");
  });
  // "Show code cell source" names a folded cell better than the label that it carries
  document.querySelectorAll("summary[aria-label]").forEach((summary) => {
    if (summary.textContent.trim()) summary.removeAttribute("aria-label");
  });
  // an icon's tooltip is not part of the button's name
  document.querySelectorAll(".theme-switch-button i[title]").forEach((icon) => {
    icon.removeAttribute("title");
    icon.setAttribute("aria-hidden", "true");
  });
  // a list of works has list items
  document.querySelectorAll(".citation-list > .citation").forEach((work) => work.setAttribute("role", "listitem"));
  document.querySelectorAll("input.task-list-item-checkbox").forEach((box) => {
    box.setAttribute("aria-label", box.closest("li")?.textContent.trim() || "task");
  });
});
