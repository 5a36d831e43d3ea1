/** Quantities as text, exact. */
export type Quantity = string | number | bigint;
/** @param {Record<string, Quantity>} quantities */
export declare function textsOf(quantities: Record<string, Quantity>): {
    [k: string]: string;
};
/**
 * Throws TypeError for what may have lost digits on its way, and for what no quantity looks like.
 *
 * @param {string} name
 * @param {unknown} quantity
 */
export declare function textOf(name: string, quantity: unknown): string;
