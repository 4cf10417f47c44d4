
// Without this script the report lacks only the boxes that filter its lists.
for (const box of document.querySelectorAll("input.filter")) {
  const rows = [...document.getElementById(box.dataset.rows).tBodies[0].rows];
  box.hidden = false;
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
