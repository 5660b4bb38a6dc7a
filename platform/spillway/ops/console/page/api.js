// Questions to ops, with the admin key if one was given. The key lives as long as this tab does.

const STORED = "spillway.adminKey";

export const key = {
  get: () => sessionStorage.getItem(STORED),
  set: (value) => sessionStorage.setItem(STORED, value),
  forget: () => sessionStorage.removeItem(STORED),
};

/** Ops said no, or nothing. */
export class Refused extends Error {
  constructor(message, status, code) {
    super(message);
    Object.assign(this, { status, code });
  }
}

/** Ask ops; returns the response if it is a good one. Throws `Refused`. */
export async function ask(path, { method = "GET", body, headers = {}, signal, secret = key.get() } = {}) {
  const all = { ...headers };
  if (secret) all.authorization = `Bearer ${secret}`;
  if (body !== undefined) all["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers: all, signal, cache: "no-store", body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("ops does not answer", 0, "unreachable");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  try {
    const { error } = await response.json();
    return new Refused(error.message, response.status, error.code);
  } catch {
    return new Refused(`ops answered ${response.status}`, response.status, "");
  }
}

export const askJson = async (path, options) => (await ask(path, options)).json();
