// What a host product loads: every element, and the session for those who want to share one by hand.
//
//     <script type="module" src="https://credits.example.com/usage/creditwell.js"></script>
//     <credits-usage id="usage"></credits-usage>
//     document.querySelector("#usage").getToken = async () => (await fetch("/credits-token")).text();

import "./elements/credits-usage.js";
import "./elements/rate-card.js";
import "./elements/usage-chart.js";

export { Session } from "./session.js";
