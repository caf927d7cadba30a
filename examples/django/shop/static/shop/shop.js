// Fills in what is the visitor's own, so that the pages themselves can be shared
// by a cache. A visitor without the csrftoken cookie has neither put anything in
// the cart nor logged in: no request is made for them.
if (document.cookie.includes("csrftoken=")) {
  fetch("/api/cart/", { headers: { Accept: "application/json" } })
    .then((response) => (response.ok ? response.json() : Promise.reject(response.status)))
    .then(({ user, count }) => {
      const badge = document.getElementById("cart-badge");
      badge.textContent = count;
      badge.hidden = count === 0;
      if (user) document.getElementById("account-link").textContent = user;
    })
    .catch(() => {}); // the badge is an extra: without it the shop works
}
