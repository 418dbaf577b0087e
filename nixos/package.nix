# The program, for nixpkgs: what pyproject.toml declares, with nixpkgs' own versions of it.
{ lib, python3Packages, src ? lib.cleanSource ../. }:
let
  project = (builtins.fromTOML (builtins.readFile ../pyproject.toml)).project;
in
python3Packages.buildPythonApplication {
  pname = project.name;
  inherit (project) version;
  pyproject = true;
  inherit src;
  build-system = [ python3Packages.hatchling ];
  dependencies = import ./dependencies.nix python3Packages;
  # the bounds in pyproject.toml are what `make test` runs with; nixpkgs has its own pace
  pythonRelaxDeps = true;
  pythonImportsCheck = [ "ai_sysadmin" ];
  meta = {
    inherit (project) description;
    mainProgram = "ai-sysadmin";
  };
}
