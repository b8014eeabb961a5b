# SWITCHYARD_CACHE_FOLDER: where tools/setup.sh puts what it fetches, outside the checkout.
if(DEFINED ENV{SWITCHYARD_CACHE})
  set(SWITCHYARD_CACHE_FOLDER "$ENV{SWITCHYARD_CACHE}")
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(SWITCHYARD_CACHE_FOLDER "$ENV{XDG_CACHE_HOME}/switchyard")
else()
  set(SWITCHYARD_CACHE_FOLDER "$ENV{HOME}/.cache/switchyard")
endif()
