// Before the first pixel, so that a dark page does not begin white: the choice of an earlier visit. Not a module: those wait.
'use strict';
try {
    const chosen = localStorage.getItem('theme');
    if (chosen === 'light' || chosen === 'dark') {
        document.documentElement.dataset.theme = chosen;
    }
} catch {
    // storage is switched off: the system's colours it is
}
