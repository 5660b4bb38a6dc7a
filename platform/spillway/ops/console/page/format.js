// Numbers for people: three digits that matter, and always a unit.

const NONE = "–";

function digits(value) {
  const size = Math.abs(value);
  if (size >= 100 || Number.isInteger(value)) return value.toFixed(0);
  return value.toFixed(size >= 10 ? 1 : 2);
}

/** Seconds → ["12.3", "ms"]. */
export function secondsParts(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return [NONE, ""];
  const size = Math.abs(seconds);
  if (size === 0) return ["0", "ms"];
  if (size < 0.001) return [digits(seconds * 1e6), "µs"];
  if (size < 1) return [digits(seconds * 1e3), "ms"];
  if (size < 120) return [digits(seconds), "s"];
  if (size < 7200) return [digits(seconds / 60), "min"];
  return [digits(seconds / 3600), "h"];
}

export const seconds = (value) => secondsParts(value).join(" ").trim();

/** A percentile as it is told → ["> 10", "s"]. */
export function quantileParts(found) {
  if (!found) return [NONE, ""];
  if (found.low === 0) {
    const [bound, unit] = secondsParts(found.high); // the first bucket: interpolated from nothing, it would be made up
    return [`< ${bound}`, unit];
  }
  const [number, unit] = secondsParts(found.value);
  return [found.high === null ? `> ${number}` : number, unit];
}

/** How exact a percentile is, in words. */
export function exactness(found) {
  if (!found) return "no request in this time";
  if (found.low === 0) return `in the first bucket, below ${seconds(found.high)}`;
  if (found.high === null) return `beyond the last bucket, ${seconds(found.low)}`;
  return `between ${seconds(found.low)} and ${seconds(found.high)}, interpolated`;
}

/** A count → "12 345", "1.23 M". */
export function count(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9)} G`;
  if (size >= 1e7) return `${digits(value / 1e6)} M`;
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A rate per second → "3.2". */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  return Math.abs(value) >= 1000 ? count(value) : digits(value);
}

export const percent = (share) =>
  share === null || share === undefined ? NONE : `${share > 0 && share < 0.1 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;

const two = (number) => String(number).padStart(2, "0");

/** Unix time → "15:04:05", of this browser's zone. */
export function clock(unix) {
  const at = new Date(unix * 1000);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Unix time → "15:04:05", with the day before it if that is not today. */
export function moment(unix) {
  const at = new Date(unix * 1000);
  const today = new Date().toDateString() === at.toDateString();
  return today ? clock(unix) : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(unix)}`;
}

export const words = (name) => name.replaceAll("_", " ");
export const NOTHING = NONE;
