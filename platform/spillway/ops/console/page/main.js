// The page's beginning: every part is started once, then the stream tells them what happens.

import { startAlerts } from "./alerts.js";
import { askForKey, startDialogs } from "./dialogs.js";
import { startKeyboard } from "./keyboard.js";
import { follow } from "./stream.js";
import { startTheme } from "./theme.js";
import { startAdmission } from "./views/admission.js";
import { startCharts } from "./views/charts.js";
import { startFaults } from "./views/faults.js";
import { startHeader } from "./views/header.js";
import { startObjectives } from "./views/objectives.js";
import { startPool } from "./views/pool.js";
import { startPrompt } from "./views/prompt.js";
import { startRequests } from "./views/requests.js";
import { startTimeline } from "./views/timeline.js";
import { startTraffic } from "./views/traffic.js";

for (const start of [
  startTheme, startDialogs, startKeyboard, startAlerts, startHeader, startCharts, startPool, startTimeline,
  startRequests, startPrompt, startTraffic, startAdmission, startObjectives, startFaults,
]) start();
follow((why) => askForKey(why));
