// Shows a term's definition beside its link on hover and on keyboard focus; Escape hides it.
(() => {
  const show = (link, tip) => {
    tip.hidden = false;
    const box = link.getBoundingClientRect();
    const room = document.documentElement.clientWidth;
    tip.style.left = `${Math.max(8, Math.min(box.left, room - tip.offsetWidth - 8))}px`;
    const below = box.bottom + 4;
    const fits = below + tip.offsetHeight <= window.innerHeight;
    tip.style.top = `${fits ? below : Math.max(8, box.top - tip.offsetHeight - 4)}px`;
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("a.book-term[title]").forEach((link, index) => {
      const tip = document.createElement("span");
      tip.className = "book-definition";
      tip.id = `book-definition-${index}`;
      tip.setAttribute("role", "tooltip");
      tip.textContent = link.title;
      tip.hidden = true;
      link.removeAttribute("title");
      link.setAttribute("aria-describedby", tip.id);
      document.body.append(tip);
      let leaving;
      const open = () => { clearTimeout(leaving); show(link, tip); };
      const close = () => { leaving = setTimeout(() => { tip.hidden = true; }, 150); };
      for (const element of [link, tip]) {
        element.addEventListener("mouseenter", open);
        element.addEventListener("mouseleave", close);
      }
      link.addEventListener("focus", open);
      link.addEventListener("blur", close);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") document.querySelectorAll(".book-definition").forEach((tip) => { tip.hidden = true; });
    });
    // keyboard focus scrolls the link into view after it has opened the note, so the note follows its link
    window.addEventListener("scroll", () => {
      document.querySelectorAll(".book-definition:not([hidden])").forEach((tip) => {
        const link = document.querySelector(`[aria-describedby="${tip.id}"]`);
        const box = link.getBoundingClientRect();
        if (box.bottom < 0 || box.top > window.innerHeight) tip.hidden = true;
        else show(link, tip);
      });
    }, { passive: true });
  });
})();
