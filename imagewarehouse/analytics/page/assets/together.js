// What comes within a moment goes on together.

/** Gives a function to wait with: who waits goes on once `count` have come, and no later than `ms` after the first who waits.
 *
 * Args: before: called each time before they go on.
 */
export function together(count, ms, before = () => {}) {
    const waiting = [];
    let [left, timer] = [count, null];
    const goOn = () => {
        clearTimeout(timer);
        timer = null;
        before();
        waiting.splice(0).forEach((resolve) => resolve());
    };
    return () => new Promise((resolve) => {
        waiting.push(resolve);
        left -= 1;
        if (left) {
            timer ??= setTimeout(goOn, ms);
        } else {
            goOn();
        }
    });
}
