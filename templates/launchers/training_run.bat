@echo off
rem Double-click on a Windows workstation: train a model on the data drive.
rem
rem TradeML runs on Linux and macOS, so on Windows it runs inside WSL 2, and the drive (ext4) is mounted there:
rem docs\workstation.md says how, once. This file may lie anywhere, on the desktop for example. Which drive:
rem   1. TRADEML_ROOT, where it is set: a path inside WSL, such as /mnt/ssd/data_layer
rem   2. else the drive that trademl inside WSL remembers
rem With a trademl.exe and a data root beside this file (a build for Windows, should there be one) those are used instead.
rem Arguments are handed on. Another wizard: set TRADEML_WIZARD=evaluate before. TRADEML_NO_PAUSE=1 for a scheduler.
setlocal EnableExtensions DisableDelayedExpansion
title TradeML training run
if not defined TRADEML_WIZARD set "TRADEML_WIZARD=train"
set "HERE=%~dp0"

if not exist "%HERE%trademl.exe" goto :inside_wsl
set "DRIVE_ROOT="
if exist "%HERE%.trademl-drive.json" set "DRIVE_ROOT=%HERE%."
if not defined DRIVE_ROOT if exist "%HERE%data_layer\.trademl-drive.json" set "DRIVE_ROOT=%HERE%data_layer"
if not defined DRIVE_ROOT goto :no_drive
echo TradeML %TRADEML_WIZARD% on "%DRIVE_ROOT%"
echo.
"%HERE%trademl.exe" %TRADEML_WIZARD% --root "%DRIVE_ROOT%" %*
set "STATUS=%ERRORLEVEL%"
goto :explain

:inside_wsl
where wsl.exe >nul 2>nul
if errorlevel 1 goto :no_wsl
wsl.exe --exec bash -lc "command -v trademl >/dev/null"
if errorlevel 1 goto :no_program
if defined TRADEML_ROOT set "WSLENV=TRADEML_ROOT/u:%WSLENV%"
echo TradeML %TRADEML_WIZARD% inside WSL. Closing this window stops it; the next double-click goes on where it was.
echo.
wsl.exe --exec bash -lc "exec trademl %TRADEML_WIZARD% %*"
set "STATUS=%ERRORLEVEL%"
goto :explain

:no_drive
echo There is a trademl.exe beside this file and no data root.
echo   looked for  "%HERE%.trademl-drive.json"
echo   and         "%HERE%data_layer\.trademl-drive.json"
set "STATUS=6"
goto :explain

:no_wsl
echo There is no WSL on this machine.
echo   fix         as an administrator: wsl --install, restart, then docs\workstation.md
set "STATUS=6"
goto :explain

:no_program
echo WSL is there, and trademl is not installed in it.
echo   fix         inside WSL: build it with make demo, then copy target/debug/trademl to ~/.local/bin
set "STATUS=6"

:explain
set "MEANING=a status that TradeML does not use: something else stopped it"
if "%STATUS%"=="0" set "MEANING=done"
if "%STATUS%"=="2" set "MEANING=an argument, an answer or a setting is missing or wrong: see above"
if "%STATUS%"=="3" set "MEANING=refused by a gate, with its numbers: a normal outcome"
if "%STATUS%"=="4" set "MEANING=a key is missing or was rejected"
if "%STATUS%"=="5" set "MEANING=paused: double-click again to go on"
if "%STATUS%"=="6" set "MEANING=this machine or the drive: mend what is named above, then double-click again"
if "%STATUS%"=="7" set "MEANING=the drive is in use by another program or machine"
if "%STATUS%"=="8" set "MEANING=the drive was written by a newer TradeML: install that version"
if "%STATUS%"=="9" set "MEANING=a vendor or the network cannot be reached: try again later"
if "%STATUS%"=="70" set "MEANING=a bug of TradeML: report it with the log that is named above"
if "%STATUS%"=="129" set "MEANING=stopped: double-click again to go on"
if "%STATUS%"=="130" set "MEANING=stopped: double-click again to go on"
if "%STATUS%"=="143" set "MEANING=stopped: double-click again to go on"
echo.
echo Exit status %STATUS%: %MEANING%
if not defined TRADEML_NO_PAUSE pause
exit /b %STATUS%
