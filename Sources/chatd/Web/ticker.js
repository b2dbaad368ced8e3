// A worker whose timers run while the page is hidden: browsers hold the page's own ones back for up
// to a minute, and the server would take the user for gone.

const handles = new Map();

onmessage = ({ data: { number, delay } }) => {
  clearTimeout(handles.get(number));
  handles.delete(number);
  if (delay === undefined) return;
  handles.set(number, setTimeout(() => {
    handles.delete(number);
    postMessage(number);
  }, delay));
};
