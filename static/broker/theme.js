// Light or dark before the first paint, so that nothing flashes. Without a choice the system's
// preference holds (site.css: color-scheme).
(() => {
  const root = document.documentElement;
  const KEY = "theme";
  const chosen = localStorage.getItem(KEY);
  if (chosen) root.dataset.theme = chosen;

  const isDark = () =>
    (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  document.addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      const label = () => {
        button.textContent = isDark() ? "Light" : "Dark";
        button.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
      };
      button.hidden = false;
      button.addEventListener("click", () => {
        root.dataset.theme = isDark() ? "light" : "dark";
        localStorage.setItem(KEY, root.dataset.theme);
        label();
        document.dispatchEvent(new Event("themechange"));
      });
      label();
    }
  });
})();
