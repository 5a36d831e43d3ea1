/**
 * One process for each folder, for as long as it lives.
 *
 * Node can't lock a file as `flock` does. So a process puts its own name into the folder first, and then looks for others that live: of two
 * that come at the same moment at least one sees the other. The name holds what no later process has again: the boot of the machine, where
 * its pid counts (its namespace: each container has one), the pid, and when the process began. So a dead process holds nothing, also where
 * its pid is given out again.
 *
 * Whether a process of another container or machine lives can't be seen. It says so: it opens its file anew every few seconds, and the clock
 * of the disk tells how long ago that was. One that has said nothing for a while holds the folder no longer, and finds out before it goes on.
 */
/** A folder that this process has. */
export declare class Lock {
    #private;
    /**
     * Take the folder.
     *
     * @param {string} folder
     * @param {(why: string) => Error} inUse  what is thrown where somebody else has it
     */
    constructor(folder: string, inUse: (why: string) => Error);
    /** True while the folder is ours. It may not be any more where this process was stopped for long: then leave it alone. */
    isHeld(): boolean;
    /** Let go of it. */
    release(): void;
}
