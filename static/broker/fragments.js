// Parts of pages, as the server has rendered and escaped them.

/** The part at an address; what went wrong, as a part to show in its place. */
export async function getText(address) {
  try {
    const response = await fetch(address, { credentials: "same-origin", headers: { Accept: "text/html" } });
    if (response.ok) return response.text();
    return `<p class="note bad">This cannot be shown (${response.status}).</p>`;
  } catch {
    return '<p class="note bad">The server did not answer.</p>';
  }
}
