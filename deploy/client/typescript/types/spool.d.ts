/**
 * Reports on disk until they have arrived: append-only files, one process at a time. Node only.
 *
 * What was appended survives the death of the process, because the kernel owns the pages; against a power failure, `fsync` says how long
 * the disk may lag behind. The folder holds:
 *
 *     00000000000000000007.jsonl    reports in the order in which they came, one a line: CRC-32, milliseconds since 1970, event
 *     delivered                     up to where everything has arrived: number of the file, offset, CRC-32
 *     refused.jsonl                 what the API will never take
 *
 * Nothing is thrown away before it has arrived. What can't be read (a torn end after a power failure, a rotten disk) stays in a file that
 * ends in `.damaged`.
 */
export type Fsync = "always" | "interval" | "never";
export type Segment = {
    number: number;
    path: string;
    file: number;
    end: number;
    damaged: boolean;
};
export type Batch = {
    events: object[];
    segment: number;
    end: number;
};
/** A folder of undelivered reports. */
export declare class Spool {
    #private;
    folder: string;
    appended: number;
    dropped: number;
    damaged: number;
    /**
     * Open a folder, made if need be, and find what an earlier process left in it. Throws SpoolInUse.
     *
     * @param {string} folder
     * @param {number} maxBytes
     * @param {Fsync} fsync
     */
    constructor(folder: string, maxBytes: number, fsync: Fsync);
    /**
     * Keep an event. When this returns, it survives the death of the process. Throws SpoolFull and SpoolClosed.
     *
     * @param {object} event
     */
    append(event: object): void;
    /** How many have not arrived yet. */
    pending(): number;
    /** How many there ever were in it, to wait for. */
    goal(): number;
    /** When the oldest of them was spooled, in milliseconds since 1970; null where none waits. */
    oldest(): number | null;
    /**
     * The oldest that have not arrived, one at least if there are any; the same again until they are dropped.
     *
     * @param {number} eventsMax
     * @param {number} bytesMax
     * @returns {Batch | null}
     */
    peek(eventsMax: number, bytesMax: number): Batch | null;
    /**
     * They have arrived: write it down.
     *
     * @param {Batch} batch
     */
    drop({ events, segment, end }: Batch): void;
    /**
     * Keep events that the API will never take beside the spool: a line for each, with why; after a crash perhaps two.
     *
     * @param {readonly object[]} refused
     */
    keepRefused(refused: readonly object[]): void;
    /** Leave what is undelivered for the next process. */
    close(): void;
}
