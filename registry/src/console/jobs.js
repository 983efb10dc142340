// <form data-job>: what the job costs, as it is typed. Amounts are whole micros, never fractions.
for (const form of document.querySelectorAll("form[data-job]")) {
  const cost = form.querySelector("output");
  const micros = (text) => {
    const match = /^(\d{1,12})(?:\.(\d{1,6}))?$/.exec(text.trim());
    return match ? BigInt(match[1]) * 1000000n + BigInt((match[2] ?? "").padEnd(6, "0")) : null;
  };
  const frames = (text) => {
    const match = /^(-?\d{1,7})(?:-(-?\d{1,7}))?$/.exec(text.trim());
    if (!match) return null;
    const count = BigInt(match[2] ?? match[1]) - BigInt(match[1]) + 1n;
    return count > 0n ? count : null;
  };
  const amount = (all) => {
    const whole = String(all / 1000000n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
    const decimals = String(all % 1000000n).padStart(6, "0");
    return `${whole}.${all > 0n && all < 10000n ? decimals.replace(/0+$/, "") : decimals.slice(0, 2)} ${form.dataset.currency}`;
  };
  form.addEventListener("input", () => {
    const [price, count] = [micros(form.elements.price.value), frames(form.elements.frames.value)];
    cost.firstElementChild.textContent = price === null || count === null ? "–" : amount(price * count);
  });
}
