/** What `widget.js` does before anything else is loaded. A build makes one file of it (vite.config.ts): each import would be a round trip. */

import { firstPaint } from "./first-paint";

firstPaint();
