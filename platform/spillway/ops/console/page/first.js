// Before anything is painted: the theme that was chosen, so that nothing flashes.
const chosen = localStorage.getItem("spillway.theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
