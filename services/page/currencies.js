// How Stripe counts money, as schemas/money.py has it (a test compares them): all other currencies are counted in hundredths.

const DIGITS = {
  0: "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf",
  2: "isk ugx",
  3: "bhd jod kwd omr tnd",
};

const table = new Map(Object.entries(DIGITS).flatMap(([digits, names]) => names.split(" ").map((name) => [name, Number(digits)])));

/**
 * How many digits of an amount in minor units stand behind the point: Stripe's, whatever the browser thinks.
 *
 * @param {string} currency
 */
export const digitsOf = (currency) => table.get(currency.toLowerCase()) ?? 2;
