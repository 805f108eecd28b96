/** Vue: the same, with a refused command told by the page itself. */

import { createApp, h, ref } from "vue";
import "flashsale-widget";

const { api, sale } = Object.fromEntries(new URLSearchParams(location.search));

createApp({
  setup() {
    const said = ref("");
    return () => [
      h("output", said.value),
      h("flash-sale", {
        api,
        sale,
        "onFlash-sale-journey": (event) => (said.value = event.detail.journey),
        "onFlash-sale-error": (event) => (said.value = event.detail.code),
      }),
    ];
  },
}).mount("#app");
