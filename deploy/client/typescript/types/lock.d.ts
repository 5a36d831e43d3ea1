/**
 * One process for each folder, for as long as it lives.
 *
 * Node can't lock a file as `flock` does. So a process puts its own name into the folder first, and then looks for others that live: of two
 * that come at the same moment at least one sees the other. The name holds what no later process has again: the boot of the machine, the
 * pid, and when the process began. So a dead process holds nothing, also where its pid is given out again, as in a container.
 */
/**
 * Take the folder. Gives what lets go of it. Throws CaptureSpoolInUse.
 *
 * @param {string} folder
 */
export declare function take(folder: string): () => void;
